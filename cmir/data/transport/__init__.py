"""Data brought from elsewhere into a cache of this host: from a URL, or from the driver."""

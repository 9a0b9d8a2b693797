"""What each part of a configuration does: arms that differ in one thing, compared in pairs."""

"""Sections of a trial's configuration: what all of them share, and the two that know no schemes."""

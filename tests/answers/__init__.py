"""Tests of the answer checker."""

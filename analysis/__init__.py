"""Reads a study and explains it: tables, figures, one HTML report. Changes nothing."""

"""What all steps share: retries, settings, run log, locks, artifacts, notifications."""

"""What a mail says: detectors read formats, rules read wordings."""

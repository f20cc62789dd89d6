"""What a run can be watched for while it trains; each is off by default, and none changes a bit of the result."""

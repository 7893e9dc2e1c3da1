"""What an auditor, who trusts neither side, can recompute and attack from files alone."""

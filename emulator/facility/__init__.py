"""From the servers' terminals to the point of common coupling. Load positive."""

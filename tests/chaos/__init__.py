"""The fault sweep: kill retrainings at every failpoint and at random times, and compare what they end with."""

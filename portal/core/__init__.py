"""What every part of the portal shares: users, audit log, tokens, the utility itself, time, change numbers."""

"""`@function`: Python recorded into graphs while it runs, and run from them afterwards."""

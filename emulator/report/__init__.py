"""`wattswing report`: what runs did, on one page that needs nothing else."""

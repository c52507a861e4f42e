"""What publishing and rolling back do, stage by stage."""

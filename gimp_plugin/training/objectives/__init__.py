"""Pre-training by other papers' objectives, on the encoders of this one."""

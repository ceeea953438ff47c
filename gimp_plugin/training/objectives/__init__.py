"""Pre-training objectives of other papers, applied to GiMP's encoders."""

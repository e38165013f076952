"""What `notebooks/build.py` is made of: sources in, notebooks, measurements and slides out."""

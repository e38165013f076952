"""What each command of the command line does: reading, calling the library, writing."""

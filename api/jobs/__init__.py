"""Use cases of jobs that HTTP and the command line share."""

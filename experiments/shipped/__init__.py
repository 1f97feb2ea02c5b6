"""What is peculiar to the data sets from which the shipped models are made and by which they are judged."""

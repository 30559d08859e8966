"""What the tests share: the program under test, its process tree, its records, and scripted peers."""

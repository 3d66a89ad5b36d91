"""What people look at: self-contained pages of runs, hits and pairs."""

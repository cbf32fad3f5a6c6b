"""The answer: estimates, verdict, budget and remedy."""

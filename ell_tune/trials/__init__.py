"""What readers see of trials: records, ranking, cost, leaderboard, progress."""

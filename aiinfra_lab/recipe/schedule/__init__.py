"""When a recipe runs by itself: at the times of its `[schedule]`, which the workspace's supervisor keeps."""

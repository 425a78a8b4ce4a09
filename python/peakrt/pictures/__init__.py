"""Pictures of frames and peaks. They need the extra "view"."""

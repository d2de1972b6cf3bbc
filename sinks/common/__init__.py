"""What several stores share: how records are packed and checked."""

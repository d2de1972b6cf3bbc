"""Stage 4: finds personal data in every text of an event and applies the policy."""

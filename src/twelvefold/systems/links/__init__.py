"""Links: short links, pastes and unique ids."""

//! What only frames can get wrong.

//! The audit log of a real proxy: that everything is in it once, that nothing is done to it unseen, and what happens when it
//! cannot be written.

mod crashes;
mod full;
mod load;
mod records;
mod scene;

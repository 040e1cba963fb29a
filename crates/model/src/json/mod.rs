//! JSON as bytes: find, compact, hash and splice a provider's tokens without parsing them into a tree.

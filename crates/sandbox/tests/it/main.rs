//! The sandbox over HTTP, as an independent client sees it.

mod client;
mod events;
mod faults;
mod lists;
mod nested;
mod seeding;
mod writes;

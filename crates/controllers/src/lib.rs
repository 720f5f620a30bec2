//! Pure deciders for the controllers.

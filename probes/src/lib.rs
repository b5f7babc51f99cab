//! Measurements of an AT Protocol PDS.

//! hive-state

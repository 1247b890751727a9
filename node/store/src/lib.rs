//! hive-store

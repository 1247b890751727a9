//! hive-trust

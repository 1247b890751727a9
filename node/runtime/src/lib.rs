//! hive-runtime

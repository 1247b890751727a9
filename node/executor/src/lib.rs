//! hive-executor

"""A gallery in Milvus, a file in this process or a cluster, through pymilvus. `milvus_gallery` combines the parts."""

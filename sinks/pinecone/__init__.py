"""Vectors in Pinecone. Import from its modules: the package loads no client by itself."""

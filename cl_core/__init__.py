"""What contrastive learning means, free of Prefect, Ray and MLflow."""

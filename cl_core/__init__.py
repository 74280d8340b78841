"""What contrastive learning means, free of Prefect, Ray and MLflow: data, views, encoders, losses, methods, evaluation."""

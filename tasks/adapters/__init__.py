"""Adapters: the only modules that talk to Ray and MLflow. They run on workers and import no Prefect."""

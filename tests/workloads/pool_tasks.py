"""A Celery application without a task, whose broker is a folder."""

import os

from celery import Celery  # type: ignore[import-not-found]  # of the system's own Python

_FOLDER = os.environ["POOL_TASKS_FOLDER"]
app = Celery(
    "pool_tasks",
    broker="filesystem://",
    broker_transport_options={"data_folder_in": _FOLDER, "data_folder_out": _FOLDER},
)

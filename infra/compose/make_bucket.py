"""Create the bucket of the store, if it does not exist; the settings name both."""

import pyarrow.fs as arrow_fs

from forecasting.series.objects import s3_arguments
from forecasting.settings import Settings

settings = Settings.load()
bucket = settings.store.partition("://")[2].partition("/")[0]
filesystem = arrow_fs.S3FileSystem(**s3_arguments(settings.storage_options), allow_bucket_creation=True)
if filesystem.get_file_info(bucket).type == arrow_fs.FileType.NotFound:
    filesystem.create_dir(bucket)
print(f"bucket {bucket} exists")

"""What every room stands on: paths, settings, errors, atomic files, the text gate, cancellable tasks, units."""

"""Thin Prefect tasks, a module a phase: they open the world, call one function of the engine and return its receipt."""

"""Dynamic scenes with known truth: moving coloured meshes, camera rigs and a ray caster that photographs them."""

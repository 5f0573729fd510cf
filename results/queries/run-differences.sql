-- What differs between the environments of two runs (SELECT id, started FROM runs)
-- parameter: first integer 1 id of a run
-- parameter: second integer 2 id of the other
WITH facts AS (
  SELECT r.id, f.key AS fact, f.value
  FROM runs r, json_each(json_object(
    'machine', machine, 'operating system', operating_system, 'cpu', cpu, 'cores', cores,
    'memory bytes', memory_bytes, 'gpu', gpu, 'driver', driver, 'source revision',
    source_revision, 'source dirty', source_dirty, 'build type', build_type, 'command line',
    command_line)) f
  UNION ALL
  SELECT r.id, 'library ' || f.key, f.value FROM runs r, json_each(r.libraries) f)
SELECT n.fact, a.value AS first, b.value AS second
FROM (SELECT DISTINCT fact FROM facts WHERE id IN (:first, :second)) n
LEFT JOIN facts a ON a.fact = n.fact AND a.id = :first
LEFT JOIN facts b ON b.fact = n.fact AND b.id = :second
WHERE a.value IS NOT b.value
ORDER BY n.fact

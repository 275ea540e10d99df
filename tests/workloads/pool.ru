run proc { |_env| [200, {"Content-Type" => "text/plain"}, [Process.pid.to_s]] }
